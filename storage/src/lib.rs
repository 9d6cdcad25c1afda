//! bftkv: storage (under construction).
