/** The page's request as a command for a POSIX shell. */

import { ACCEPT, INVOCATIONS } from "./server.js";

export function curlCommand(name, contentType) {
  const words = [
    `curl -H ${quote(`Content-Type: ${contentType}`)}`,
    `-H ${quote(`Accept: ${ACCEPT}`)}`,
    `--data-binary ${quote(`@${name}`)}`,
    quote(INVOCATIONS),
  ];
  return words.join(" \\\n  ");
}

/** To the clipboard; where the browser keeps it from pages without TLS, as in former times. */
export async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  const selection = getSelection();
  selection.selectAllChildren(element);
  document.execCommand("copy");
}

const PLAIN = /^[\w@%+=:,./-]+$/; // what no shell reads anything into

const quote = (text) => (PLAIN.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
