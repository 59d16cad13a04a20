/** Assertions state what only a bug can break; operating errors are ProximaErrors. */

/** Throws when `condition` is false: a bug in Proxima. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** Marks a closed union as handled whole: a compile error when a member is missing. */
export function unreachable(value: never): never {
  throw new Error(`assertion failed: unreachable value ${String(value)}`);
}
