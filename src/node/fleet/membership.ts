/** A node's place in its fleet, as it lies in the data directory. It is read by hand: those who serve need no schema. */
import { readFileSync } from "node:fs";
import { messageOf, ProximaError } from "../../base/errors.ts";

/** Name of its file. */
export const MEMBERSHIP_FILE = "fleet.json";

/** A node's place in a fleet. */
export interface Membership {
  readonly control: string;
  readonly node: string;
  readonly credential: string;
  readonly logKey?: string | undefined;
}

/** Reads it from a file; null where there is none. Throws a ProximaError "fleet_file_unusable". */
export function readMembership(path: string): Membership | null {
  const value = readFleetFile(path);
  if (value === null) return null;
  const { control, node, credential, logKey } = value as Readonly<Record<string, unknown>>;
  const isOptional = logKey === undefined || typeof logKey === "string";
  if (
    typeof control !== "string" ||
    typeof node !== "string" ||
    typeof credential !== "string" ||
    !isOptional
  )
    throw broken(path, "it holds something else");
  return { control, node, credential, ...(logKey === undefined ? {} : { logKey }) };
}

/** What a file of the fleet holds: an object; null where there is no file. Throws a ProximaError "fleet_file_unusable". */
export function readFleetFile(path: string): object | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw broken(path, messageOf(error));
  }
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Told below: half a file is something else.
  }
  if (typeof value !== "object" || value === null) throw broken(path, "it holds something else");
  return value;
}

/** The error of a file that can not be used. */
export function broken(path: string, why: string): ProximaError {
  return new ProximaError(
    "fleet_file_unusable",
    `${path} can not be used: ${why}; remove it and join again`,
    { source: "node" },
  );
}
