/** Bucket origins for tests: made from a config as an edge makes them, secrets from a table. */

import type { Clock } from "../../src/base/clock.ts";
import { isBucket } from "../../src/config/origins.ts";
import { parseConfig } from "../../src/config/parse.ts";
import { formatProblems } from "../../src/config/problems.ts";
import type { BucketConfig } from "../../src/config/schema.ts";
import { BucketOrigin } from "../../src/upstream/bucket/bucket-origin.ts";
import { bucketService, storeUrl } from "../../src/upstream/bucket/from-config.ts";
import type { Lookup } from "../../src/upstream/http1/resolver.ts";
import { HttpOrigin } from "../../src/upstream/origin.ts";

/** Environment variables of a test's node. */
export type Secrets = Record<string, string | undefined>;

/** The parsed form of a bucket origin. Throws with the problems when it is not valid. */
export function bucketConfig(origin: object): BucketConfig {
  const parsed = parseConfig({ sites: { test: { hosts: ["*"], origins: { files: origin } } } });
  if (!parsed.ok) throw new Error(formatProblems("config", parsed.problems));
  const config = parsed.config.sites.test?.origins.files;
  if (config === undefined || !isBucket(config)) throw new Error("the origin is no bucket");
  return config;
}

/** A bucket as a next hop, and what it told its operator. */
export async function bucketHop(
  origin: object,
  options: { readonly clock: Clock; readonly secrets: Secrets; readonly lookup?: Lookup },
): Promise<{ hop: BucketOrigin; told: string[] }> {
  const { clock, secrets, lookup } = options;
  const config = bucketConfig(origin);
  const told: string[] = [];
  const read = (ref: { env: string } | { file: string }) =>
    Promise.resolve("env" in ref ? (secrets[ref.env] ?? null) : null);
  const hop = new BucketOrigin({
    name: "files",
    service: await bucketService(config, read, clock),
    server: new HttpOrigin({
      name: "files",
      url: new URL(storeUrl(config)).origin,
      clock,
      ...(lookup === undefined ? {} : { lookup }),
    }),
    clock,
    keys: { prefix: config.keyPrefix?.replace(/\/?$/, "/") ?? "", index: config.index ?? null },
    errorDocument: config.errorDocument ?? null,
    deniedAsMissing: config.deniedAsMissing,
    metadata: config.metadata,
    tell: (message) => told.push(message),
  });
  return { hop, told };
}
