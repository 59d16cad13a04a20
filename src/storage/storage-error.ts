/** Why storage does not do what it was asked: each API says it in its own words. */
import { ProximaError } from "../base/errors.ts";

/** The kinds. A closed list. */
export type StorageFault =
  | "bad_request"
  | "bad_path"
  | "no_zone"
  | "no_file"
  | "no_upload"
  | "too_large"
  | "too_many"
  | "cut_short"
  /** The content is not the one that was announced. */
  | "checksum_mismatch"
  | "bad_signature"
  | "precondition"
  | "bad_part"
  | "part_too_small"
  | "not_implemented"
  | "unavailable";

/** A refusal of storage; the message is one sentence for who asked. */
export class StorageError extends ProximaError<StorageFault> {
  constructor(fault: StorageFault, message: string, cause?: unknown) {
    super(fault, message, { source: fault === "unavailable" ? "node" : "viewer", cause });
    this.name = "StorageError";
  }
}
