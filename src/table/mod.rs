//! *What runs.* The immutable table that traffic uses.

mod hosts;
mod normalize;
pub mod oracle;
mod paths;
mod rank;
mod rewrite;
mod route;
mod router;

pub use normalize::{escape, normalize};
pub use route::{Hit, Miss, Question, Route};
pub use router::Trial;
