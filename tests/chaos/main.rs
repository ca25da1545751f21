//! Every fault that people can inject, on a living cluster: its effect is seen, and that nothing of
//! it is left when it was healed.
//!
//! That a fault makes things slow is asserted as "no faster than", never as "no slower than": the
//! machine that runs this test may be busy.

mod clocks;
mod disks;
mod links;
mod pause;
mod processes;
mod support;
