/** Signs that an answer is for one viewer. Only where they stand is told, never the values. */
import type { AuditAnswer } from "./client.ts";
import type { FindingId } from "./finding.ts";

/** Text that is looked through, in characters. */
const TEXT_CHARS_MAX = 2 * 1_024 * 1_024;

const ACCOUNT_PATH =
  /\/(?:account|accounts|profile|me|my|user|users|settings|orders?|cart|basket|checkout|wishlist|billing|invoices?|inbox|admin|dashboard)(?:\/|\.|$)/i;
/** A JSON Web Token (RFC 7519): three parts of base 64, the first of which begins with `{"`. */
const JWT = /\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/;
const SECRET_MEMBER =
  /"((?:access|refresh|id|auth|session|bearer)[_-]?token|session[_-]?id|api[_-]?key|client[_-]?secret|password|passwd)"\s*:\s*"[^"]{6,}"/i;
const PERSONAL_MEMBER =
  /"(e?-?mail(?:[_-]?address)?|phone(?:[_-]?number)?|date[_-]?of[_-]?birth|birth(?:date|day)|iban|ssn|social[_-]?security[_-]?number|street[_-]?address)"\s*:\s*"[^"]{4,}"/i;
const FORM_TOKEN =
  /(?:name|id)\s*=\s*["']?(csrf[\w-]*|_csrf\w*|csrfmiddlewaretoken|authenticity_token|__RequestVerificationToken|_token|xsrf[\w-]*)["'\s>/]/i;
const LOG_OUT = /(?:href|action)\s*=\s*["']?[^"'\s>]{0,200}(?:log-?out|sign-?out|abmelden)\b/i;

/** What speaks for it, in an answer that shared caches may keep. */
export function personalSigns(
  url: URL,
  answer: AuditAnswer,
): { readonly id: FindingId; readonly detail: string }[] {
  const signs: { id: FindingId; detail: string }[] = [];
  const text = answer.text?.slice(0, TEXT_CHARS_MAX) ?? "";
  const type = answer.fields.get("content-type") ?? "";
  const isJson = /json/i.test(type);
  if (isJson || /^text\/html/i.test(type)) {
    const member = SECRET_MEMBER.exec(text)?.[1];
    if (member !== undefined) signs.push({ id: "public-secret", detail: `a member "${member}"` });
    else if (JWT.test(text)) signs.push({ id: "public-secret", detail: "a JSON Web Token" });
  }
  if (isJson) {
    const member = PERSONAL_MEMBER.exec(text)?.[1];
    if (member !== undefined) signs.push({ id: "public-personal", detail: `a member "${member}"` });
  } else if (/^text\/html/i.test(type)) {
    const token = FORM_TOKEN.exec(text)?.[1];
    if (token !== undefined) signs.push({ id: "public-form-token", detail: `"${token}"` });
    if (LOG_OUT.test(text)) signs.push({ id: "public-logged-in", detail: "a link or form to log out" });
  }
  if ((isJson || /^text\/html/i.test(type)) && ACCOUNT_PATH.test(url.pathname))
    signs.push({ id: "public-account-path", detail: url.pathname.slice(0, 100) });
  return signs;
}
