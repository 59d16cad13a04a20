/** Checks of bucket origins that span several settings. */

import { errorAt, type Finding, warningAt } from "./issues.ts";
import { isBucket } from "./origins.ts";
import { isWithin } from "./paths.ts";
import { quoted } from "./problems.ts";
import type { BucketConfig, NodeConfig, SiteConfig } from "./schema.ts";

/** Where a secret stands. */
type SecretRef = { readonly env: string } | { readonly file: string };

/** What is wrong or doubtful with a bucket; `path` leads to its origin. */
export function checkBucket(origin: BucketConfig, path: readonly (string | number)[]): Finding[] {
  const findings: Finding[] = [];
  const [kind, part] = storeOf(origin);
  const credentials = [...path, kind, "credentials"];
  if (part.anonymous && kind !== "s3" && part.credentials !== undefined) {
    findings.push(errorAt(credentials, "cannot stand beside anonymous"));
  }
  if (!part.anonymous && part.credentials === undefined) {
    findings.push(errorAt(credentials, 'is missing; without credentials say "anonymous": true'));
  }
  if ("azure" in origin) {
    const { accountKey, sas } = origin.azure.credentials ?? {};
    const count = [accountKey, sas].filter((one) => one !== undefined).length;
    if (origin.azure.credentials !== undefined && count !== 1) {
      findings.push(errorAt(credentials, 'must hold exactly one of "accountKey" and "sas"'));
    }
    const url = origin.azure.endpoint ?? "https:";
    if (sas !== undefined && url.startsWith("http:")) {
      findings.push(
        warningAt([...path, kind, "endpoint"], "a shared access signature is sent in the clear over http"),
      );
    }
  }
  return findings;
}

/** Secrets that a site names and the node does not permit. File paths are absolute by now. */
export function checkSecrets(node: NodeConfig, sites: Readonly<Record<string, SiteConfig>>): Finding[] {
  const variables = node.permitted?.secretVariables;
  const folders = node.permitted?.secretDirectories;
  if (variables === undefined && folders === undefined) return [];
  const findings: Finding[] = [];
  for (const [id, site] of Object.entries(sites)) {
    for (const [name, origin] of Object.entries(site.origins)) {
      if (!isBucket(origin)) continue;
      const [kind] = storeOf(origin);
      for (const [setting, ref] of secretsOf(origin)) {
        const at = ["sites", id, "origins", name, kind, "credentials", setting];
        if ("env" in ref && variables !== undefined && !variables.includes(ref.env)) {
          findings.push(errorAt(at, `${quoted(ref.env)} is not among permitted.secretVariables`));
        }
        if ("file" in ref && folders !== undefined && !folders.some((root) => isWithin(root, ref.file))) {
          findings.push(errorAt(at, `${quoted(ref.file)} lies outside permitted.secretDirectories`));
        }
      }
    }
  }
  return findings;
}

function storeOf(origin: BucketConfig) {
  if ("s3" in origin) return ["s3", origin.s3] as const;
  return "gcs" in origin ? (["gcs", origin.gcs] as const) : (["azure", origin.azure] as const);
}

/** The secrets of an origin, by the name of their setting. */
function secretsOf(origin: BucketConfig): [string, SecretRef][] {
  const [, { anonymous, credentials }] = storeOf(origin);
  if (anonymous || credentials === undefined) return [];
  return Object.entries(credentials).filter(
    (entry): entry is [string, SecretRef] => typeof entry[1] === "object" && entry[1] !== null,
  );
}
