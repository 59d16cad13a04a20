/**
 * The door of push storage: a request is in Bunny's shape when it brings an AccessKey, in S3's otherwise; who
 * may not do what he asks is refused before a byte of his body is read. Never rejects.
 */
import { messageOf } from "../base/errors.ts";
import type { ReceivedRequest } from "../http/sigv4/verify.ts";
import { answerBunny, bunnyError, bunnyPlace, isBunny, message } from "./bunny.ts";
import { type Asked, answer, askedOf, type StorageRequest, type StorageResponse } from "./message.ts";
import { s3Error, s3Refusal, s3SignatureError } from "./s3/errors.ts";
import { answerS3, s3Place } from "./s3/s3-api.ts";
import { StorageError } from "./storage-error.ts";
import { ZONE_NAME } from "./zone-path.ts";
import type { Principal, StorageGuard, Zone, ZoneStore } from "./zone-store.ts";

/** What the door needs. */
export interface StorageApiOptions {
  readonly store: ZoneStore;
  readonly guard: StorageGuard;
  /** Names below which a bucket stands in the host. */
  readonly domains: readonly string[];
  readonly onError: (message: string) => void;
}

const READS: ReadonlySet<string> = new Set(["GET", "HEAD", "DESCRIBE"]);

/** Storage over HTTP. */
export class StorageApi {
  readonly #options: StorageApiOptions;

  constructor(options: StorageApiOptions) {
    this.#options = options;
  }

  async answer(request: StorageRequest): Promise<StorageResponse> {
    const asked = askedOf(request);
    if (asked === null) return answer(400, "the request has no path\n", "text/plain; charset=utf-8");
    if (asked.path === "/healthz" && request.method === "GET")
      return answer(200, "ok\n", "text/plain; charset=utf-8");
    const bunny = isBunny(asked);
    try {
      const response = bunny ? await this.#bunny(asked) : await this.#s3(asked);
      return request.method === "HEAD" ? { ...response, body: null } : response;
    } catch (error) {
      const known =
        error instanceof StorageError
          ? error
          : new StorageError("unavailable", "the storage failed to answer; its log says why");
      if (known !== error || known.code === "unavailable")
        this.#options.onError(
          `storage: ${request.method} ${asked.path}: ${error instanceof Error ? (error.stack ?? messageOf(error)) : String(error)}`,
        );
      const response = bunny ? bunnyError(known) : s3Error(known, asked.path);
      return request.method === "HEAD" ? { ...response, body: null } : response;
    }
  }

  async #bunny(asked: Asked): Promise<StorageResponse> {
    const { guard, store } = this.#options;
    const { request } = asked;
    const key = request.fields.get("accesskey");
    const who = key === null || key.length > 500 ? null : guard.byToken(key);
    if (who === null)
      return this.#refuse(asked, 401, "the AccessKey is not known, has expired, or was revoked");
    const place = bunnyPlace(asked);
    const zone = this.#zone(place.zone);
    const may = READS.has(request.method)
      ? zone !== null && who.mayRead(zone)
      : zone !== null && who.mayWrite(zone);
    if (zone === null || !may)
      return this.#refuse(
        asked,
        zone === null && who.mayWrite({ id: 0, name: place.zone, site: null, createdMs: 0 }) ? 404 : 401,
        "the AccessKey is not for this zone",
        who,
      );
    const response = await answerBunny(asked, { zone, path: place.path, who, store });
    this.#note(asked, who, `${zone.name}/${place.path}`, response);
    return response;
  }

  #refuse(asked: Asked, status: number, text: string, who: Principal | null = null): StorageResponse {
    if (status === 404) return message(404, "there is no such zone");
    const { request, path } = asked;
    const wait = this.#options.guard.refused(
      request.peerAddress,
      `storage ${request.method} ${path}`,
      `${status}: ${text}${who === null ? "" : ` (${who.id})`}`,
    );
    return wait > 0 ? message(429, "too many requests of this address were refused") : message(status, text);
  }

  async #s3(asked: Asked): Promise<StorageResponse> {
    const { guard, store, domains } = this.#options;
    const { request, path } = asked;
    const verified = guard.bySignature(receivedOf(asked));
    if (typeof verified === "string") {
      const response = s3SignatureError(verified, path);
      const wait = guard.refused(
        request.peerAddress,
        `storage ${request.method} ${path}`,
        `${response.status}: ${verified}`,
      );
      return wait > 0
        ? s3Refusal(503, "SlowDown", "too many requests of this address were refused", path, {
            "retry-after": String(wait),
          })
        : response;
    }
    const { principal: who, signature } = verified;
    const find = (name: string, one: Principal, need: "read" | "write"): Zone => {
      const zone = this.#zone(name);
      if (zone === null) throw new StorageError("no_zone", "The specified bucket does not exist");
      if (need === "read" ? one.mayRead(zone) : one.mayWrite(zone)) return zone;
      guard.refused(
        request.peerAddress,
        `storage ${request.method} ${path}`,
        `403: ${one.id} may not ${need} zone ${name}`,
      );
      throw new Denied();
    };
    try {
      const place = s3Place(asked, domains);
      const response = await answerS3(asked, place, { who, store, signature, find });
      this.#note(asked, who, `${place.bucket}/${place.key}`, response);
      return response;
    } catch (error) {
      if (error instanceof Denied) return s3Refusal(403, "AccessDenied", "Access Denied", path);
      throw error;
    }
  }

  /** Notes what was changed; a part of a file (S3's UploadPart, and nothing that only looks like one) changes nothing yet. */
  #note(asked: Asked, who: Principal, target: string, { status }: StorageResponse): void {
    const { request, parameters } = asked;
    const isPart = !isBunny(asked) && request.method === "PUT" && parameters.has("uploadId");
    if (READS.has(request.method) || status >= 300 || isPart) return;
    const what = parameters.has("delete") ? "delete many" : request.method.toLowerCase();
    this.#options.guard.done(who, request.peerAddress, `storage.${what}`, target);
  }

  #zone(name: string): Zone | null {
    return ZONE_NAME.test(name) ? this.#options.store.zone(name) : null;
  }
}

class Denied extends Error {}

function receivedOf({ request, path, query }: Asked): ReceivedRequest {
  return {
    method: request.method,
    path,
    query,
    field: (name) => request.fields.get(name),
    fieldNames: [...request.fields.entries()].map(([name]) => name.toLowerCase()),
  };
}
