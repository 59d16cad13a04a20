/** Certificates for tests, made on the spot: an authority and leaves that are right or wrong in one way. */

/**
 * The X.509 library's dependency container insists on the decorator metadata API, which the runtime
 * does not have. This is the part of it that is used; it must stand before the library is loaded.
 */
function provideMetadata(): void {
  if ("getMetadata" in Reflect) return;
  const kept = new WeakMap<object, Map<unknown, unknown>>();
  const own = (key: unknown, target: object) => kept.get(target)?.get(key);
  Object.assign(Reflect, {
    defineMetadata(key: unknown, value: unknown, target: object) {
      const entries = kept.get(target) ?? new Map<unknown, unknown>();
      kept.set(target, entries.set(key, value));
    },
    getOwnMetadata: own,
    getMetadata(key: unknown, target: object) {
      for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
        const value = own(key, at);
        if (value !== undefined) return value;
      }
      return undefined;
    },
  });
}

provideMetadata();
const x509 = await import("@peculiar/x509");

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 24 * 60 * 60 * 1000;

/** A certificate authority for tests. */
export interface TestAuthority {
  /** Its certificate, PEM. */
  readonly pem: string;
  /** A certificate for `names` (DNS names or IP addresses) and its key, both PEM. */
  issue(names: readonly string[], options?: { readonly expired?: boolean }): Promise<TestCertificate>;
}

/** A certificate and its private key, PEM. */
export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
}

/** A new authority that nobody trusts yet. */
export async function makeAuthority(): Promise<TestAuthority> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=Test Authority",
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + 30 * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  return {
    pem: authority.toString("pem"),
    issue: (names, options = {}) =>
      leaf(names, { issuer: authority.subject, key: keys.privateKey }, options.expired ?? false),
  };
}

/** A certificate that vouches for itself. */
export function makeSelfSigned(names: readonly string[]): Promise<TestCertificate> {
  return leaf(names, null, false);
}

async function leaf(
  names: readonly string[],
  issuer: { readonly issuer: string; readonly key: CryptoKey } | null,
  isExpired: boolean,
): Promise<TestCertificate> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const isAddress = (name: string) => /^[0-9.]+$/.test(name) || name.includes(":");
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "02",
    subject: "CN=Test Leaf",
    issuer: issuer?.issuer ?? "CN=Test Leaf",
    notBefore: new Date(Date.now() - 10 * DAY_MS),
    notAfter: new Date(Date.now() + (isExpired ? -DAY_MS : 30 * DAY_MS)),
    publicKey: keys.publicKey,
    signingKey: issuer?.key ?? keys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({ type: isAddress(name) ? ("ip" as const) : ("dns" as const), value: name })),
      ),
    ],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const lines = pkcs8.match(/.{1,64}/g) ?? [];
  return {
    cert: certificate.toString("pem"),
    key: `-----BEGIN PRIVATE KEY-----\n${lines.join("\n")}\n-----END PRIVATE KEY-----\n`,
  };
}
