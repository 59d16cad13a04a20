/**
 * Secrets that sites' configs point at: environment variables and files of this node, as far as it permits
 * them. What is read is a few lines of text: anything larger, or no regular file, is no secret.
 */
import { constants } from "node:fs";
import { open, realpath } from "node:fs/promises";
import { messageOf, ProximaError } from "../base/errors.ts";
import { isWithin } from "../config/paths.ts";
import type { NodeConfig } from "../config/schema.ts";

/** Larger files are refused, in bytes. */
const FILE_BYTES_MAX = 64 * 1024;

/**
 * Reads a secret; null for a variable that is not set or not permitted. Rejects with a ProximaError
 * "secret_unreadable" that names the file and never what is in it.
 */
export async function readSecret(
  ref: { readonly env: string } | { readonly file: string },
  permitted: NodeConfig["permitted"],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string | null> {
  if ("env" in ref) {
    const variables = permitted?.secretVariables;
    if (variables !== undefined && !variables.includes(ref.env)) return null;
    return env[ref.env]?.trimEnd() ?? null;
  }
  const { file } = ref;
  let text: string;
  try {
    const path = await realpath(file);
    const folders = permitted?.secretDirectories;
    if (folders !== undefined && !(await isBelowAny(path, folders)))
      throw new Error("it lies outside permitted.secretDirectories");
    text = await readSmallFile(path);
  } catch (error) {
    throw new ProximaError("secret_unreadable", `the file ${file} can not be read: ${messageOf(error)}`, {
      source: "node",
    });
  }
  return text.trimEnd();
}

/** By real paths: a link inside a permitted folder does not lead out of it. */
async function isBelowAny(path: string, folders: readonly string[]): Promise<boolean> {
  for (const folder of folders) {
    const real = await realpath(folder).catch(() => null);
    if (real !== null && isWithin(real, path)) return true;
  }
  return false;
}

async function readSmallFile(path: string): Promise<string> {
  // Not to wait for a writer, should it be a pipe.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new Error("it is not a file");
    if (stat.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
    return (await handle.readFile()).toString("utf8");
  } finally {
    await handle.close();
  }
}
