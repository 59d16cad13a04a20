/**
 * A certificate authority of this machine's own, made on the first run and kept, so that HTTPS works
 * before anyone has a certificate. Nothing trusts it by itself: whoever wants to adds `certFile` to a
 * browser. It signs one short-lived certificate for each set of names, kept beside it and made again
 * when its end is near.
 *
 * On disk: local-ca.pem (key and certificate, 0600), local-ca.crt (the certificate alone, to hand out),
 * leaf-HASH.pem (key and chain of one set of names, 0600).
 */
import "./reflect-metadata.ts";
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../base/clock.ts";
import { messageOf, ProximaError } from "../../base/errors.ts";
import { pemBlocks, readIfThere, writeWhole } from "./pem-file.ts";

/** A certificate with its chain, and its key, both PEM. */
export interface IssuedCertificate {
  readonly cert: string;
  readonly key: string;
}

/** The machine's own authority. */
export interface LocalCa {
  /** Name in the certificate's subject. */
  readonly name: string;
  /** The certificate to trust, PEM, and where it lies. */
  readonly cert: string;
  readonly certFile: string;
  /** A certificate for these DNS names (wildcards included) and IP addresses, from disk while it is good. */
  issue(names: readonly string[]): Promise<IssuedCertificate>;
}

/** Names in one certificate. */
export const certificateNamesMax = 1_000;

const dayMs = 86_400_000;
const renewBeforeMs = 30 * dayMs;

/** Reads the authority from the directory, or makes it. Rejects with a ProximaError "local_ca_unusable". */
export async function ensureLocalCa(directory: string, clock: Clock = systemClock): Promise<LocalCa> {
  const file = join(directory, "local-ca.pem");
  const certFile = join(directory, "local-ca.crt");
  const text = await asCaError(file, () => readIfThere(file));
  const pair =
    text === null ? await asCaError(file, () => createCa(file, clock)) : readPair(text, file, clock);
  await asCaError(certFile, async () => {
    if ((await readIfThere(certFile)) !== pair.cert) await writeWhole(certFile, pair.cert, 0o644);
  });
  return {
    name: new X509Certificate(pair.cert).subject.replace(/^CN=/, ""),
    cert: pair.cert,
    certFile,
    async issue(names) {
      const wanted = normalized(names);
      const leafFile = join(directory, `leaf-${hashOf(wanted.join("\n"))}.pem`);
      const kept = await asCaError(leafFile, () => readIfThere(leafFile));
      const usable = kept === null ? null : usableLeaf(kept, pair.cert, wanted, clock);
      if (usable !== null) return usable;
      const { createLeaf } = await issuing();
      const leaf = await createLeaf(pair, wanted, clock.now());
      const issued = { cert: `${leaf.cert}${pair.cert}`, key: leaf.key };
      await asCaError(leafFile, () => writeWhole(leafFile, `${issued.key}${issued.cert}`, 0o600));
      return issued;
    },
  };
}

/** The library that makes certificates is large: it is loaded when one has to be made. */
function issuing(): Promise<typeof import("./issuing.ts")> {
  return import("./issuing.ts");
}

async function createCa(file: string, clock: Clock): Promise<IssuedCertificate> {
  const { createAuthority } = await issuing();
  // Other characters could end the attribute; a host name has none, but nothing checks that.
  const host = hostname().replaceAll(/[^A-Za-z0-9.-]/g, "-");
  const pair = await createAuthority(`Proxima local CA ${host}`, clock.now());
  await writeWhole(file, `${pair.key}${pair.cert}`, 0o600);
  return pair;
}

/** Key and certificate of the authority; throws when the file is damaged, foreign or over its time. */
function readPair(text: string, file: string, clock: Clock): IssuedCertificate {
  const key = pemBlocks(text, "PRIVATE KEY")[0];
  const cert = pemBlocks(text, "CERTIFICATE")[0];
  if (key === undefined || cert === undefined) throw unusable(file, "it holds no whole key and certificate");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      throw new Error("key and certificate do not match");
  } catch (error) {
    throw unusable(file, messageOf(error), error);
  }
  if (Date.parse(certificate.validTo) <= clock.now())
    throw unusable(file, `it ended on ${certificate.validTo}`);
  return { key, cert };
}

/** The kept certificate when it is whole, ours, for these names and far from its end; else null. */
function usableLeaf(
  text: string,
  caCert: string,
  names: readonly string[],
  clock: Clock,
): IssuedCertificate | null {
  const key = pemBlocks(text, "PRIVATE KEY")[0];
  const certs = pemBlocks(text, "CERTIFICATE");
  const leafPem = certs[0];
  if (key === undefined || leafPem === undefined || certs.length !== 2) return null;
  try {
    const leaf = new X509Certificate(leafPem);
    const ours =
      leaf.verify(new X509Certificate(caCert).publicKey) && leaf.checkPrivateKey(createPrivateKey(key));
    const fresh = Date.parse(leaf.validTo) - clock.now() > renewBeforeMs;
    const begun = Date.parse(leaf.validFrom) <= clock.now();
    return ours && fresh && begun && sameCount(leaf, names) ? { cert: certs.join(""), key } : null;
  } catch {
    // A damaged leaf is no loss: another is made in its place.
    return null;
  }
}

/** The file's name is a short hash of the names; this tells a collision. */
function sameCount(leaf: X509Certificate, names: readonly string[]): boolean {
  return leaf.subjectAltName?.split(", ").length === names.length;
}

/** Lower case, without duplicates, sorted; throws on what can not stand in a certificate. */
function normalized(names: readonly string[]): string[] {
  const wanted = [...new Set(names.map((name) => name.toLowerCase().replace(/\.$/, "")))].sort();
  if (wanted.length === 0 || wanted.length > certificateNamesMax) {
    throw nameError(`a certificate is for 1 to ${certificateNamesMax} names, not ${wanted.length}`);
  }
  for (const name of wanted) {
    const label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
    const isDns = name.length <= 253 && new RegExp(`^(\\*\\.)?${label}(\\.${label})*$`).test(name);
    if (!isDns && isIP(name) === 0) {
      throw nameError(`"${name}" is neither a DNS name, a wildcard such as *.example.com, nor an IP address`);
    }
  }
  return wanted;
}

function nameError(message: string): ProximaError {
  return new ProximaError("certificate_name_invalid", message, { source: "node" });
}

async function asCaError<T>(file: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw unusable(file, messageOf(error), error);
  }
}

function unusable(file: string, why: string, cause?: unknown): ProximaError {
  if (cause instanceof ProximaError) return cause;
  return new ProximaError(
    "local_ca_unusable",
    `the local certificate authority in ${file} can not be used: ${why}; make the file readable, or delete it to have a new one made`,
    { source: "node", cause },
  );
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
