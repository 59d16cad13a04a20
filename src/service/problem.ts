/** Answers of the control listener as JSON, and its errors as problem documents (RFC 9457 section 3). */

/** A JSON answer, indented for people. */
export function json(value: unknown, status = 200, fields: Record<string, string> = {}): Response {
  return new Response(`${JSON.stringify(value, null, 2)}\n`, {
    status,
    headers: { "content-type": "application/json", ...fields },
  });
}

/** A problem document; `members` are its extensions (RFC 9457 section 3.2). */
export function problem(
  status: number,
  title: string,
  detail: string,
  fields: Record<string, string> = {},
  members: Readonly<Record<string, unknown>> = {},
): Response {
  return new Response(`${JSON.stringify({ type: "about:blank", title, status, detail, ...members })}\n`, {
    status,
    headers: { "content-type": "application/problem+json", ...fields },
  });
}
