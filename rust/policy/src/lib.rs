//! Input policy engine: one document in, one immutable compiled policy out; evaluation is a pure function.
