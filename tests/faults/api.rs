//! The rows of the API.
