/** COCO's compressed run-length encoding. Source: cocoapi, common/maskApi.c, rleFrString and rleDecode. */

/**
 * The lengths of runs: off, on, off, …, down the columns.
 *
 * Five bits a character, the least significant first, 48 added; a sixth bit says that more follow, and the
 * fifth of the last is the sign. From the fourth on each is the difference to the last but one before it.
 */
export function runLengths(text) {
  const lengths = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let shift = 0;
    let character;
    do {
      character = text.charCodeAt(at++) - 48;
      value += (character & 31) * 2 ** shift;
      shift += 5;
    } while (character & 32);
    if (character & 16) value -= 2 ** shift;
    if (lengths.length > 2) value += lengths[lengths.length - 2];
    lengths.push(value);
  }
  return lengths;
}

/** Write `label` where the encoding is on. labels: Uint8Array [width × height], column after column. */
export function paintRuns(labels, text, label) {
  let start = 0;
  runLengths(text).forEach((length, index) => {
    if (index % 2) labels.fill(label, start, start + length);
    start += length;
  });
}
