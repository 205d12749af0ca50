//! `InvokeModel` and `InvokeModelWithResponseStream`, whose bodies are the model's own.

pub(super) mod judge;
pub(super) mod request;
