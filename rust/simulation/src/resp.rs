//! Commands and replies.

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Resp {
    Nil,
    Int(i64),
    Bulk(Vec<u8>),
    Status(&'static str),
    List(Vec<Resp>),
    Error(String),
}

impl Resp {
    /// Text of a bulk, status or integer reply; empty otherwise.
    pub fn text(&self) -> String {
        match self {
            Resp::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Resp::Int(number) => number.to_string(),
            Resp::Status(word) => (*word).to_owned(),
            _ => String::new(),
        }
    }

    /// Elements of a list reply.
    pub fn list(&self) -> &[Resp] {
        match self {
            Resp::List(items) => items,
            _ => &[],
        }
    }

    /// Whether there is something.
    pub fn is_some(&self) -> bool {
        !matches!(self, Resp::Nil | Resp::Error(_))
    }
}

/// One command: name and arguments.
pub type Command = Vec<Vec<u8>>;

/// An argument of [`crate::command!`].
pub trait Argument {
    fn put(&self, command: &mut Command);
}

impl Argument for str {
    fn put(&self, command: &mut Command) {
        command.push(self.as_bytes().to_vec());
    }
}

impl Argument for String {
    fn put(&self, command: &mut Command) {
        self.as_str().put(command);
    }
}

impl Argument for i64 {
    fn put(&self, command: &mut Command) {
        command.push(self.to_string().into_bytes());
    }
}

impl Argument for Vec<u8> {
    fn put(&self, command: &mut Command) {
        command.push(self.clone());
    }
}

impl Argument for Vec<String> {
    fn put(&self, command: &mut Command) {
        self.iter().for_each(|item| item.as_str().put(command));
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    fn put(&self, command: &mut Command) {
        (**self).put(command);
    }
}

/// Build a command.
#[macro_export]
macro_rules! command {
    ($($part:expr),+ $(,)?) => {{
        let mut command: $crate::resp::Command = Vec::new();
        $($crate::resp::Argument::put(&$part, &mut command);)+
        command
    }};
}
