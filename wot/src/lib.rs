//! bftkv: wot (under construction).
