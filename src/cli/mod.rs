//! kvctl.
mod bytes;
mod failure;
mod output;
mod units;
