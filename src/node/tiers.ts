/** A node's place among tiers: the shared secrets read, and the shields that it asks. */
import { readFile } from "node:fs/promises";
import { messageOf, ProximaError } from "../base/errors.ts";
import type { NodeConfig } from "../config/schema.ts";
import { SECRET_CHARS_MIN } from "../upstream/shield/limits.ts";
import type { ShieldPlace } from "../upstream/shield/shields.ts";
import { tierKey } from "../upstream/shield/tier-field.ts";
import { readSecret } from "./secrets.ts";

/** What a data plane needs of it. */
export interface NodeTiers {
  /** Keys of the edges whose requests are answered; null when this node is no shield. */
  readonly accepted: readonly Buffer[] | null;
  /** The shields that it asks; null when there are none. */
  readonly asks: { readonly places: readonly ShieldPlace[]; readonly key: Buffer } | null;
}

type SecretRef = NonNullable<NodeConfig["tiers"]>["secret"];

/** Reads what the config points at; null without `tiers`. Rejects with a ProximaError that names the setting, and never a secret. */
export async function openTiers(config: NodeConfig): Promise<NodeTiers | null> {
  const { tiers } = config;
  if (tiers === undefined) return null;
  const key = await keyOf("tiers.secret", tiers.secret);
  const former = tiers.formerSecret;
  const keys = former === undefined ? [key] : [key, await keyOf("tiers.formerSecret", former)];
  const places: ShieldPlace[] = [];
  for (const [name, { urls, tls }] of Object.entries(tiers.shields)) {
    const { caFile, serverName } = tls;
    places.push({
      name,
      urls: urls.map((url) => url.replace(/\/$/, "")),
      tls: {
        ...(caFile === undefined ? {} : { ca: await authorities(name, caFile) }),
        ...(serverName === undefined ? {} : { serverName }),
      },
    });
  }
  return { accepted: tiers.accept ? keys : null, asks: places.length === 0 ? null : { places, key } };
}

async function keyOf(setting: string, ref: SecretRef): Promise<Buffer> {
  // The node's own config may name any place: `permitted` is for sites.
  const secret = await readSecret(ref, undefined).catch((cause: unknown) => {
    throw unusable(`${setting}: ${messageOf(cause)}`, cause);
  });
  const where = "env" in ref ? `the variable ${ref.env}` : `the file ${ref.file}`;
  if (secret === null) throw unusable(`${setting}: ${where} is not set in the environment`);
  if (secret.length < SECRET_CHARS_MIN)
    throw unusable(
      `${setting}: ${where} holds ${secret.length} characters; at least ${SECRET_CHARS_MIN} are needed, such as those of: openssl rand -base64 32`,
    );
  return tierKey(secret);
}

async function authorities(name: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw unusable(`tiers.shields.${name}.tls.caFile can not be read: ${messageOf(cause)}`, cause);
  }
}

function unusable(message: string, cause?: unknown): ProximaError {
  return new ProximaError("tiers_unusable", message, { source: "node", cause });
}
