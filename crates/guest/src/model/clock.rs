//! The guest's time.

use vmss2core_mem::Found;

/// The time in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970.
    pub now_unix: Option<Found<u64>>,
    /// Nanoseconds since 1970 at which the guest was started.
    pub boot_unix_ns: Option<Found<u64>>,
    /// How long it has run in nanoseconds, time asleep included.
    pub uptime_ns: Option<Found<u64>>,
}
