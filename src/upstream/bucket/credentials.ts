/**
 * Credentials of buckets. A config names where they stand, an environment variable or a file, and never
 * holds them; they are read when a snapshot is prepared, and again when a store refuses them, so that a
 * file that another program renews is taken up without a reload. No message repeats a secret.
 */
import type { Clock } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { SigV4Credentials } from "../../http/sigv4/sign.ts";
import { RENEW_PAUSE_MS, SECRET_CHARS_MAX } from "./limits.ts";

/** Where a secret stands. */
export type SecretRef = { readonly env: string } | { readonly file: string };

/** Reads a secret; null for a variable that is not set. Rejects with the file's error, or when the node forbids it. */
export type ReadSecret = (ref: SecretRef) => Promise<string | null>;

/** How a client of Azure says who it is. */
export type AzureCredentials =
  | { readonly kind: "key"; readonly key: Uint8Array }
  /** A shared access signature: a query, without the `?`. */
  | { readonly kind: "sas"; readonly query: string };

/** Credentials in use, which can be read anew. */
export class HeldCredentials<T> {
  readonly #read: () => Promise<T>;
  readonly #clock: Clock;
  #current: T;
  #readAtMs: number;
  #reading: Promise<boolean> | null = null;

  private constructor(read: () => Promise<T>, clock: Clock, first: T) {
    this.#read = read;
    this.#clock = clock;
    this.#current = first;
    this.#readAtMs = clock.now();
  }

  /** Reads for the first time. Rejects as `read` does. */
  static async from<T>(read: () => Promise<T>, clock: Clock): Promise<HeldCredentials<T>> {
    return new HeldCredentials(read, clock, await read());
  }

  get current(): T {
    return this.#current;
  }

  /** Reads anew. Rejects as `read` does; what was current stays so then. */
  async reload(): Promise<void> {
    this.#current = await this.#read();
    this.#readAtMs = this.#clock.now();
  }

  /** After a refusal of `refused`: true when there are others now. Never rejects. */
  renew(refused: T): Promise<boolean> {
    if (this.#current !== refused) return Promise.resolve(true);
    if (this.#reading === null) {
      if (Math.abs(this.#clock.now() - this.#readAtMs) < RENEW_PAUSE_MS) return Promise.resolve(false);
      this.#reading = this.#renew().finally(() => {
        this.#reading = null;
      });
    }
    return this.#reading;
  }

  async #renew(): Promise<boolean> {
    const before = this.#current;
    this.#readAtMs = this.#clock.now();
    try {
      const read = await this.#read();
      if (isSame(read, before)) return false;
      this.#current = read;
      return true;
    } catch {
      // In the middle of being renewed; the refusal itself is told.
      return false;
    }
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return Bun.deepEquals(a, b);
}

/** Reads credentials of AWS or of a store that takes such ones. Rejects with a ProximaError "credentials_unusable". */
export async function readSigV4Credentials(
  refs: {
    readonly accessKeyId: SecretRef | string;
    readonly secretAccessKey: SecretRef;
    /** "optional" for a variable that may be unset. */
    readonly sessionToken: SecretRef | null;
    readonly sessionTokenOptional: boolean;
  },
  read: ReadSecret,
): Promise<SigV4Credentials> {
  const idRef = refs.accessKeyId;
  const accessKeyId = typeof idRef === "string" ? idRef : await required(idRef, read);
  // They would end the id within the Authorization field.
  if (!/^[!-~]+$/.test(accessKeyId) || /[,/]/.test(accessKeyId)) {
    throw unusable(`${placeOf(idRef)} holds no access key id: visible ASCII without "," and "/"`);
  }
  const secretAccessKey = await required(refs.secretAccessKey, read);
  const { sessionToken } = refs;
  if (sessionToken === null) return { accessKeyId, secretAccessKey, sessionToken: null };
  const token = refs.sessionTokenOptional ? await read(sessionToken) : await required(sessionToken, read);
  if (token === null || token === "") return { accessKeyId, secretAccessKey, sessionToken: null };
  return { accessKeyId, secretAccessKey, sessionToken: checked(token, sessionToken) };
}

/** Reads an account key. Rejects with a ProximaError "credentials_unusable". */
export async function readAccountKey(ref: SecretRef, read: ReadSecret): Promise<AzureCredentials> {
  const text = await required(ref, read);
  const key = Buffer.from(text, "base64");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0 || key.byteLength < 16) {
    throw unusable(`${placeOf(ref)} holds no account key: Base64 of at least 16 bytes`);
  }
  return { kind: "key", key };
}

/** Reads a shared access signature. Rejects with a ProximaError "credentials_unusable". */
export async function readSas(ref: SecretRef, read: ReadSecret): Promise<AzureCredentials> {
  const query = (await required(ref, read)).replace(/^\?/, "");
  const names = query.split("&").map((parameter) => parameter.split("=", 1)[0]);
  // The query of a request must be one: what else the file may hold is not sent anywhere.
  if (!/^[\w\-.~%!$'()*+,;:@/?&=]+$/.test(query) || !names.includes("sig") || !names.includes("sv")) {
    throw unusable(`${placeOf(ref)} holds no shared access signature: a query with "sv" and "sig"`);
  }
  return { kind: "sas", query };
}

async function required(ref: SecretRef, read: ReadSecret): Promise<string> {
  const text = await read(ref);
  if (text === null) throw unusable(`${placeOf(ref)} is not set`);
  return checked(text, ref);
}

function checked(text: string, ref: SecretRef): string {
  if (text === "") throw unusable(`${placeOf(ref)} is empty`);
  if (text.length > SECRET_CHARS_MAX || !/^[!-~]+$/.test(text)) {
    throw unusable(`${placeOf(ref)} holds no secret: at most ${SECRET_CHARS_MAX} visible ASCII characters`);
  }
  return text;
}

function placeOf(ref: SecretRef | string): string {
  if (typeof ref === "string") return "accessKeyId";
  return "env" in ref ? `the environment variable ${ref.env}` : `the file ${ref.file}`;
}

function unusable(message: string): ProximaError {
  return new ProximaError("credentials_unusable", message, { source: "node" });
}
