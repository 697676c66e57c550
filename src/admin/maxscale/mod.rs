//! The *maxscale* dialect: MaxScale's REST API as of MaxScale 2.3, with what later versions add.

pub mod parameters;
