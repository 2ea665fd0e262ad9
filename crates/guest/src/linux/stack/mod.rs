//! Kernel stacks: where a task waits. How a stack is unwound is the processor's (`arch`).

mod wait;
