/** The key that signs what goes over a bus: made once, in the database, so that a backup has it. */
import type { KeyObject } from "node:crypto";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { newLogKey, readSecretKey } from "../../service/bus/bus-entry.ts";
import type { ControlDatabase } from "../database.ts";

/** The key pair of a control plane. */
export interface LogKey {
  readonly secret: KeyObject;
  /** What nodes are told (SPKI, DER, base64). */
  readonly open: string;
}

/** Reads or makes it. Throws a ProximaError "control_database_unusable". */
export function openLogKey(database: ControlDatabase): LogKey {
  const known = database.get<{ value: string }>("SELECT value FROM meta WHERE name = 'log_key'");
  const pem = known?.value ?? newLogKey().secret;
  if (known === null) database.run("INSERT INTO meta (name, value) VALUES ('log_key', ?)", pem);
  try {
    return readSecretKey(pem);
  } catch (cause) {
    throw new ProximaError(
      "control_database_unusable",
      `the key of the log can not be read: ${messageOf(cause)}`,
      { source: "node", cause },
    );
  }
}
