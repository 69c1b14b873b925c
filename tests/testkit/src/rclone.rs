//! How the OpenClaw plugin calls `rclone`, for those who compare with it.

/// What the plugin passes to `rclone bisync`, beside paths, configuration and patterns.
pub const PLUGIN: [&str; 8] = [
    "--conflict-resolve",
    "newer",
    "--conflict-suffix",
    ".conflict",
    "--max-lock",
    "15m",
    "--recover",
    "--resilient",
];
