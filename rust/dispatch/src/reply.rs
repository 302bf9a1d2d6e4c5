//! Replies of the store's job scripts.

/// One element of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Text(String),
}

/// Outcome of one job in a script call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Moved {
        state: String,
        rev: i64,
        attempts: i64,
        topic: String,
        tenant: String,
        created_at: i64,
        worker_id: String,
        pool: String,
        /// The record's part in a saga, told when the change asked for it.
        saga: String,
    },
    Conflict {
        why: String,
        state: String,
    },
    Ignored {
        why: String,
        state: String,
    },
    /// The call failed; nothing is known.
    Failed,
}

impl Reply {
    /// Read `{"moved", state, rev, attempts, topic, tenant, prev_state, created_at, worker_id, pool, saga}` and its siblings.
    pub fn parse(values: &[Value]) -> Reply {
        let text = |at: usize| match values.get(at) {
            Some(Value::Text(text)) => text.clone(),
            Some(Value::Int(number)) => number.to_string(),
            None => String::new(),
        };
        let number = |at: usize| match values.get(at) {
            Some(Value::Int(number)) => *number,
            Some(Value::Text(text)) => text.parse().unwrap_or(0),
            None => 0,
        };
        match text(0).as_str() {
            "moved" => Reply::Moved {
                state: text(1),
                rev: number(2),
                attempts: number(3),
                topic: text(4),
                tenant: text(5),
                created_at: number(7),
                worker_id: text(8),
                pool: text(9),
                saga: text(10),
            },
            "conflict" => Reply::Conflict {
                why: text(1),
                state: text(2),
            },
            "ignored" => Reply::Ignored {
                why: text(1),
                state: text(2),
            },
            _ => Reply::Failed,
        }
    }
}
