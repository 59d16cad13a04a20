/** Questions about the origins of a parsed site. They need no schema: those who serve ask them, and hold none. */
import type { BucketConfig, OriginConfig, OriginGroupConfig } from "./schema.ts";

/** Is it a storage bucket? */
export function isBucket(origin: OriginConfig): origin is BucketConfig {
  return "deniedAsMissing" in origin;
}

/** Name of the origin that a member of a group stands for. */
export function memberName(member: OriginGroupConfig["members"][number]): string {
  return typeof member === "string" ? member : member.origin;
}
