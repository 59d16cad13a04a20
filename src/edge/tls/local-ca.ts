/**
 * A certificate authority of this machine's own, made on the first run and kept, so that HTTPS works
 * before anyone has a certificate. Nothing trusts it by itself: whoever wants to adds `certFile` to a
 * browser. It signs one short-lived certificate for each set of names, kept beside it and made again
 * when its end is near.
 *
 * On disk: local-ca.pem (key and certificate, 0600), local-ca.crt (the certificate alone, to hand out),
 * leaf-HASH.pem (key and chain of one set of names, 0600).
 */
import { createHash, createPrivateKey, X509Certificate as SystemCertificate } from "node:crypto";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
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
const caDays = 3_650;
/** Browsers refuse certificates of more than 398 days. */
const leafDays = 397;
const renewBeforeDays = 30;
/** Clocks of viewers may be behind. */
const backdateMs = 60 * 60_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

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
  const certificate = new X509Certificate(pair.cert);
  const signer = await importKey(pair.key);
  const name = certificate.subjectName.getField("CN")[0] ?? "";
  return {
    name,
    cert: pair.cert,
    certFile,
    async issue(names) {
      const wanted = normalized(names);
      const leafFile = join(directory, `leaf-${hashOf(wanted.join("\n"))}.pem`);
      const kept = await asCaError(leafFile, () => readIfThere(leafFile));
      const usable = kept === null ? null : usableLeaf(kept, pair.cert, wanted, clock);
      if (usable !== null) return usable;
      const leaf = await createLeaf(certificate, signer, wanted, clock);
      const issued = { cert: `${leaf.cert}${pair.cert}`, key: leaf.key };
      await asCaError(leafFile, () => writeWhole(leafFile, `${issued.key}${issued.cert}`, 0o600));
      return issued;
    },
  };
}

async function createCa(file: string, clock: Clock): Promise<IssuedCertificate> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const nowMs = clock.now();
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      // Commas and the like would end the attribute; a host name has none, but nothing checks that.
      name: `CN=Proxima local CA ${hostname().replaceAll(/[^A-Za-z0-9.-]/g, "-")}`,
      serialNumber: serialNumber(),
      notBefore: new Date(nowMs - backdateMs),
      notAfter: new Date(nowMs + caDays * dayMs),
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    },
    crypto,
  );
  const pair = { cert: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
  await writeWhole(file, `${pair.key}${pair.cert}`, 0o600);
  return pair;
}

async function createLeaf(
  ca: X509Certificate,
  signingKey: CryptoKey,
  names: readonly string[],
  clock: Clock,
): Promise<IssuedCertificate> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const nowMs = clock.now();
  const notAfterMs = Math.min(nowMs + leafDays * dayMs - backdateMs, ca.notAfter.getTime());
  const certificate = await X509CertificateGenerator.create(
    {
      // RFC 9525 section 2: names are taken from the alternative names; the subject is for people.
      subject: "CN=Proxima",
      issuer: ca.subjectName,
      serialNumber: serialNumber(),
      notBefore: new Date(nowMs - backdateMs),
      notAfter: new Date(notAfterMs),
      publicKey: keys.publicKey,
      signingKey,
      signingAlgorithm: algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension(
          names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
        ),
        await SubjectKeyIdentifierExtension.create(keys.publicKey),
        await AuthorityKeyIdentifierExtension.create(ca.publicKey),
      ],
    },
    crypto,
  );
  return { cert: `${certificate.toString("pem")}\n`, key: await exportKey(keys.privateKey) };
}

/** Key and certificate of the authority; throws when the file is damaged, foreign or over its time. */
function readPair(text: string, file: string, clock: Clock): IssuedCertificate {
  const key = pemBlocks(text, "PRIVATE KEY")[0];
  const cert = pemBlocks(text, "CERTIFICATE")[0];
  if (key === undefined || cert === undefined) throw unusable(file, "it holds no whole key and certificate");
  let certificate: SystemCertificate;
  try {
    certificate = new SystemCertificate(cert);
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
    const leaf = new SystemCertificate(leafPem);
    const ours =
      leaf.verify(new SystemCertificate(caCert).publicKey) && leaf.checkPrivateKey(createPrivateKey(key));
    const fresh = Date.parse(leaf.validTo) - clock.now() > renewBeforeDays * dayMs;
    const begun = Date.parse(leaf.validFrom) <= clock.now();
    return ours && fresh && begun && sameNames(leafPem, names) ? { cert: certs.join(""), key } : null;
  } catch {
    // A damaged leaf is no loss: another is made in its place.
    return null;
  }
}

function sameNames(leafPem: string, names: readonly string[]): boolean {
  const held = new X509Certificate(leafPem).getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
  return held.length === names.length;
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

function importKey(pem: string): Promise<CryptoKey> {
  const der = PemConverter.decodeFirst(pem);
  return crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
}

async function exportKey(key: CryptoKey): Promise<string> {
  return `${PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`;
}

/** Positive and unpredictable (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
