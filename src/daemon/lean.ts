/** How the processes that slashcloud starts are kept small. */

/**
 * glibc's allocator by mallopt(3). A process whose buffers come and go grows without end otherwise: whatever is freed from
 * a mapping of its own raises the size from which a buffer gets one, and what then lies between others is never given
 * back. Measured in a minute of a guest that writes as fast as it can: 149 MB instead of 412.
 */
const ALLOCATOR = {
  MALLOC_MMAP_THRESHOLD_: `${128 << 10}`,
  MALLOC_TRIM_THRESHOLD_: `${128 << 10}`,
  MALLOC_ARENA_MAX: "2",
};

/** The environment for a child; what the user has set counts. */
export function leanEnvironment(): NodeJS.ProcessEnv {
  return { ...ALLOCATOR, ...process.env };
}

/** Options for a child's Node: MiB of each half of a thread's space for new objects, of which there are few. */
export const LEAN_OPTIONS: readonly string[] = ["--max-semi-space-size=2"];
