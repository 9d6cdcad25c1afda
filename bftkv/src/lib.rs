//! bftkv (under construction).
