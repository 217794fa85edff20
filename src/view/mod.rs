//! What people and other programs look at: exports and tables of an archive.

pub mod audit;
pub mod export;
pub mod status;
pub mod table;
