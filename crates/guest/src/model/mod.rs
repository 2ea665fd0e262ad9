//! Answers about a guest in terms that every system has: tasks, kernel stacks,
//! images, the log and the clock. What a system does not have stays empty.

mod clock;
mod image;
mod log;
mod stack;
mod task;

pub use clock::Clock;
pub use image::{Image, ImageUse, Images, PdbIdentity, Unloaded};
pub use log::{Caller, LEVELS, Log, Record};
pub use stack::{
    Backtrace, Frame, FrameKind, Place, Stack, StackEnd, StackOwner, Stacks, StacksOf,
};
pub use task::{Started, Task, TaskKind, Tasks};
