//! The disk alone: what a power loss may leave, against a model that knows nothing of its insides.

mod aftermath;
mod corners;
mod damage;
mod model;
mod naive;
mod witness;
