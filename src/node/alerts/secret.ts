/** Secrets of channels: read when they are used, so that a new one counts at once. */
import { messageOf, ProximaError } from "../../base/errors.ts";
import { readSecret } from "../secrets.ts";

/** The environment, or a test's. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What a reference stands for; a text is the value itself. Rejects with a ProximaError that names the place only; its message follows the name of what needs it. */
export async function secretOf(
  ref: string | { readonly env: string } | { readonly file: string },
  env: Environment,
): Promise<string> {
  if (typeof ref === "string") return ref;
  // The node's own config may name any place: `permitted` is for sites.
  const value = await readSecret(ref, undefined, env).catch((cause: unknown) => {
    throw unreadable(`needs a secret, but ${messageOf(cause)}`, cause);
  });
  if (value !== null && value !== "") return value;
  throw unreadable(
    "env" in ref
      ? `needs ${ref.env} in the environment, which is not set`
      : `needs a secret, but the file ${ref.file} is empty`,
  );
}

function unreadable(message: string, cause?: unknown): ProximaError {
  return new ProximaError("secret_unreadable", message, { source: "node", cause });
}
