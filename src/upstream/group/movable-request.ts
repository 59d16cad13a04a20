/** A request that may be sent to one next hop after another, as far as that is right. */
import type { BodyReader } from "../../http/body.ts";
import { UpstreamError, type UpstreamRequest } from "../next-hop.ts";

/** Methods that change nothing and may be sent again (RFC 9110 section 9.2.1). */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** One request on its way past several next hops. */
export class MovableRequest {
  readonly #request: UpstreamRequest;
  /** It changes nothing and has no body: it may be sent as often as it takes. */
  readonly isSafe: boolean;
  /** The body, which tells whether it was touched. */
  readonly body: BodyReader | null;
  #isTouched = false;

  constructor(request: UpstreamRequest) {
    this.#request = request;
    this.isSafe = SAFE_METHODS.has(request.method) && request.body === null;
    const { body } = request;
    this.body =
      body === null
        ? null
        : {
            read: () => {
              this.#isTouched = true;
              return body.read();
            },
            cancel: () => body.cancel(),
          };
  }

  get isGivenUp(): boolean {
    return this.#request.signal?.aborted === true;
  }

  /** May the request go elsewhere after this error? Without safety only if nothing was sent (RFC 9110 section 9.2.2). */
  mayMove(error: unknown): boolean {
    return this.isSafe || (!this.#isTouched && error instanceof UpstreamError && error.retryable);
  }

  /** The asker's wish to give up reaches the attempt. Returns how to undo that. */
  link(controller: AbortController): () => void {
    const { signal } = this.#request;
    if (signal === null) return () => {};
    const abort = () => controller.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
    return () => signal.removeEventListener("abort", abort);
  }
}
