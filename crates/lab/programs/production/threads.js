// Workers of Node, one of which waits for ever.
const { Worker, isMainThread } = require('worker_threads');

if (isMainThread) {
    new Worker(__filename);
    new Worker(__filename);
    setTimeout(() => console.log('up'), 1000);
    setInterval(() => {}, 86400000);
} else {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    Atomics.wait(cell, 0, 0);
}
