package easelv1

// RefusalHeader is where the error of a Reserve that a node refuses has the reason in one word. A coordinator goes on to the next node whatever it
// says; by it, it knows whom else the node would refuse.
const RefusalHeader = "Easel-Refusal"

// Refusals that are about the class that was asked for.
const (
	RefusalClass   = "class"   // the node has no such class
	RefusalGPU     = "gpu"     // no slice of the class is free
	RefusalEncoder = "encoder" // none whose card can encode the picture
)
