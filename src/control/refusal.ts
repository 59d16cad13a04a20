/** Why the control plane does not do what it was asked: a status with a sentence, and what belongs to it. */

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Thrown by whatever refuses; the API makes a problem document of it (RFC 9457). */
export class Refused extends Error {
  readonly status: number;
  /** Members of the problem document beside the usual ones. */
  readonly members: Readonly<Record<string, unknown>>;
  readonly fields: Readonly<Record<string, string>>;

  constructor(
    status: number,
    detail: string,
    more: {
      readonly members?: Readonly<Record<string, unknown>>;
      readonly fields?: Readonly<Record<string, string>>;
    } = {},
  ) {
    super(detail);
    this.name = "Refused";
    this.status = status;
    this.members = more.members ?? {};
    this.fields = more.fields ?? {};
  }
}

/** The phrase of a status. */
export function titleOf(status: number): string {
  return TITLES[status] ?? "Error";
}
