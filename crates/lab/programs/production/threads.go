// Threads of Go that sleep in the kernel, each below named functions.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

//go:noinline
func goSleepDeep(depth int) int {
	if depth > 0 {
		return goSleepDeep(depth-1) + depth
	}
	day := syscall.Timespec{Sec: 86400}
	for {
		syscall.Nanosleep(&day, nil)
	}
}

//go:noinline
func goReadPipe(depth int) int {
	if depth > 0 {
		return goReadPipe(depth-1) + depth
	}
	var ends [2]int
	var one [1]byte
	syscall.Pipe(ends[:])
	count, _ := syscall.Read(ends[0], one[:])
	return count
}

func main() {
	for i := 0; i < 3; i++ {
		go func() { runtime.LockOSThread(); goSleepDeep(3) }()
		go func() { runtime.LockOSThread(); goReadPipe(3) }()
	}
	time.Sleep(time.Second)
	fmt.Println("up")
	os.Stdout.Sync()
	goSleepDeep(5)
}
