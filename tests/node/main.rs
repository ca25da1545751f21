//! Real `kvnode` processes, spoken to over their sockets.

mod cluster;
mod life;
mod refusals;
mod rubbish;
