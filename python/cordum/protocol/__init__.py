"""Everything that crosses a process border: CAP types, our protos, subjects, pointers."""
