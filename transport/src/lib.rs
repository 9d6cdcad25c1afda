//! bftkv: transport (under construction).
