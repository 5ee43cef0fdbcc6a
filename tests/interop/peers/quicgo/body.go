package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

const blockBytes = 8192

var baseBlock = func() []byte {
	out := make([]byte, 0, blockBytes)
	for i := uint32(0); i < blockBytes/32; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("interop"), i))
		out = append(out, sum[:]...)
	}
	return out
}()

// bodyReader yields the test body: blocks of 8192 bytes, each led by its number.
type bodyReader struct {
	size, at int64
	onRead   func(int)
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	var block [blockBytes]byte
	copy(block[:], baseBlock)
	binary.BigEndian.PutUint64(block[:8], uint64(r.at/blockBytes))
	within := r.at % blockBytes
	n := copy(p, block[within:min(blockBytes, within+r.size-r.at)])
	r.at += int64(n)
	if r.onRead != nil {
		r.onRead(n)
	}
	return n, nil
}

var reportLock sync.Mutex

// report writes one fact for the runner: a JSON line on standard output.
func report(event string, facts map[string]any) {
	facts["event"] = event
	line, err := json.Marshal(facts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	reportLock.Lock()
	defer reportLock.Unlock()
	os.Stdout.Write(append(line, '\n'))
}
