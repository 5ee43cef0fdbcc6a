//! Batched UDP: one socket that receives with GRO, sends with GSO, and wakes JavaScript through libuv.
mod address;
mod poll;
mod send;
mod socket;
