//! What can be asked of a guest, in terms that every system has: tasks, kernel stacks,
//! images. What a system does not have stays empty.

mod image;
mod stack;
mod task;

pub use image::{Image, ImageUse, Images, PdbIdentity, Unloaded};
pub use stack::{
    Backtrace, Frame, FrameKind, Place, Stack, StackEnd, StackOwner, Stacks, StacksOf,
};
pub use task::{Started, Task, TaskKind, Tasks};
