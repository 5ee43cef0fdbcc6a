//! Batched UDP: one socket that receives with GRO, sends with GSO, and wakes JavaScript through libuv.
mod address;
mod poll;
mod reuseport;
mod send;
mod socket;
