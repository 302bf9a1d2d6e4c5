//! Partition of a job: CRC-32 of its id modulo the partition count (scheduler spec §30).

/// Partition number of `job_id` among `partitions` (at least one).
pub fn partition(job_id: &str, partitions: u32) -> u32 {
    crc32fast::hash(job_id.as_bytes()) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_zlib() {
        assert_eq!(super::partition("123456789", u32::MAX), 0xcbf4_3926);
    }
}
