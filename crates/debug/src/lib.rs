//! A guest as debuggers see it.
//!
//! Each module makes [`Inferior`](vmss2core_gdb::Inferior)s of what `guest` knows: `kernel`
//! one of all processors, `tasks` one of all tasks of a Linux, `process` one of each process
//! that a client attaches to. [`KernelTarget`](kernel::KernelTarget) and
//! [`Processes`](process::Processes) offer them to the server of `gdb`, which knows nothing
//! of guests.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))]

pub mod kernel;
pub mod process;
pub mod tasks;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_debugged_can_be_kept_and_shared() {
        fn assert_owned<T: Send + Sync + 'static>() {}
        assert_owned::<kernel::Vcpus>();
        assert_owned::<kernel::KernelTarget>();
        assert_owned::<tasks::GuestTasks>();
        assert_owned::<process::Attached>();
        assert_owned::<process::Processes>();
    }
}
