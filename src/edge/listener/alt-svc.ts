/**
 * What a TLS listener says about HTTP/3 (RFC 7838): nothing while there is no HTTP/3, the port while it
 * is advertised, "clear" while it exists but should not be used. The value is one string that is
 * replaced rarely, so that a kept response can tell by comparing whether its own copy is still right.
 */

/** How long a browser may remember that HTTP/3 is here, in seconds. */
export const altSvcMaxAgeSeconds = 3_600;

/** The Alt-Svc value of a TLS listener. */
export class AltSvc {
  readonly #wanted: () => boolean;
  #port: number | null = null;
  #advertised = "";
  #withdrawn = false;

  /** `wanted` says at any time whether HTTP/3 may be advertised. */
  constructor(wanted: () => boolean) {
    this.#wanted = wanted;
  }

  /** HTTP/3 is listening on this UDP port. */
  activate(port: number): void {
    this.#port = port;
    this.#advertised = `h3=":${port}"; ma=${altSvcMaxAgeSeconds}`;
    this.#withdrawn = false;
  }

  /** Browsers are told to forget HTTP/3 until `activate` is called again. */
  withdraw(): void {
    this.#withdrawn = true;
  }

  /** The field's value now; null when it is not sent. */
  value(): string | null {
    if (this.#port === null) return null;
    return !this.#withdrawn && this.#wanted() ? this.#advertised : "clear";
  }
}
