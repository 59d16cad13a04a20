/** A call of the S3 API, its signature verified, its zone found. */
import type { VerifiedSignature } from "../../http/sigv4/verify.ts";
import type { Asked } from "../message.ts";
import type { Principal, Zone, ZoneStore } from "../zone-store.ts";

/** What every operation gets. */
export interface S3Call {
  readonly asked: Asked;
  readonly zone: Zone;
  /** The key, decoded; empty for the bucket itself. */
  readonly path: string;
  readonly who: Principal;
  readonly store: ZoneStore;
  readonly signature: VerifiedSignature;
  /** A zone that `who` may use so. Throws a StorageError. */
  readonly find: (name: string, who: Principal, need: "read" | "write") => Zone;
}
