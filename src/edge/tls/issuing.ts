/**
 * Makes X.509 certificates (RFC 5280) with ECDSA P-256 keys: a local authority, and certificates for
 * servers signed by it. Everything is PEM going in and out; time is an argument.
 */
import { isIP } from "node:net";
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

/** A certificate and its key, PEM. */
export interface MadeCertificate {
  readonly cert: string;
  readonly key: string;
}

const dayMs = 86_400_000;
const authorityDays = 3_650;
/** Browsers refuse certificates of more than 398 days. */
const leafDays = 397;
/** Clocks of viewers may be behind. */
const backdateMs = 60 * 60_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A self-signed authority that may sign certificates of servers only, for ten years from `nowMs`. */
export async function createAuthority(commonName: string, nowMs: number): Promise<MadeCertificate> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      name: `CN=${commonName}`,
      serialNumber: serialNumber(),
      notBefore: new Date(nowMs - backdateMs),
      notAfter: new Date(nowMs + authorityDays * dayMs),
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
  return made(certificate, keys.privateKey);
}

/** A server's certificate for DNS names and IP addresses, for 397 days or until the authority ends. */
export async function createLeaf(
  authority: MadeCertificate,
  names: readonly string[],
  nowMs: number,
): Promise<MadeCertificate> {
  const issuer = new X509Certificate(authority.cert);
  const signingKey = await crypto.subtle.importKey(
    "pkcs8",
    PemConverter.decodeFirst(authority.key),
    algorithm,
    false,
    ["sign"],
  );
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const notBeforeMs = nowMs - backdateMs;
  const certificate = await X509CertificateGenerator.create(
    {
      // RFC 9525 section 2: names are taken from the alternative names; the subject is for people.
      subject: "CN=Proxima",
      issuer: issuer.subjectName,
      serialNumber: serialNumber(),
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(Math.min(notBeforeMs + leafDays * dayMs, issuer.notAfter.getTime())),
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
        await AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      ],
    },
    crypto,
  );
  return made(certificate, keys.privateKey);
}

async function made(certificate: X509Certificate, key: CryptoKey): Promise<MadeCertificate> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", key);
  return { cert: `${certificate.toString("pem")}\n`, key: `${PemConverter.encode(pkcs8, "PRIVATE KEY")}\n` };
}

/** Positive and unpredictable (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return Buffer.from(bytes).toString("hex");
}
